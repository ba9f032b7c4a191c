//! Metrics queries: aggregates, what is done to their series, arithmetic between them.

use super::{Parsed, Parser};
use crate::ast::{Aggregate, Compare, Function, Metrics, MetricsNode, Op, Operand, Pipeline, Scalar, SecondStage};
use crate::lexer::Token;
use crate::value::Static;

/// Values of an attribute that `compare` shows where it is not told.
const COMPARE_TOP: i64 = 10;

impl Parser<'_> {
    /// `rate() by (…)` and the like, if one stands here.
    pub(super) fn metrics_aggregate(&mut self) -> Parsed<Option<Aggregate>> {
        let Some(word) = self.known() else { return Ok(None) };
        let function = match word {
            "rate" => Function::Rate,
            "count_over_time" => Function::CountOverTime,
            "min_over_time" => Function::MinOverTime,
            "max_over_time" => Function::MaxOverTime,
            "avg_over_time" => Function::AvgOverTime,
            "sum_over_time" => Function::SumOverTime,
            "quantile_over_time" => Function::QuantileOverTime(Vec::new()),
            "histogram_over_time" => Function::HistogramOverTime,
            "compare" => {
                self.at += 1;
                let function = Function::Compare(self.compare()?);
                return Ok(Some(Aggregate { function, attribute: None, by: Vec::new() }));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        self.expect("(")?;
        let mut aggregate = Aggregate { function, attribute: None, by: Vec::new() };
        if !matches!(aggregate.function, Function::Rate | Function::CountOverTime) {
            aggregate.attribute = Some(self.attribute()?);
        }
        if let Function::QuantileOverTime(quantiles) = &mut aggregate.function {
            self.expect(",")?;
            loop {
                match self.advance().token {
                    Token::Int(i) => quantiles.push(i as f64),
                    Token::Float(f) => quantiles.push(f),
                    _ => {
                        self.at -= 1;
                        return self.unexpected("INTEGER or FLOAT");
                    }
                }
                if !self.eat(",") {
                    break;
                }
            }
        }
        self.expect(")")?;
        if self.eat("by") {
            aggregate.by = self.attributes()?;
        }
        Ok(Some(aggregate))
    }

    fn compare(&mut self) -> Parsed<Compare> {
        self.expect("(")?;
        let filter = self.braces()?;
        let mut numbers = Vec::new();
        while numbers.len() < 3 && self.eat(",") {
            match self.advance().token {
                Token::Int(i) => numbers.push(i),
                _ => {
                    self.at -= 1;
                    return self.unexpected("INTEGER");
                }
            }
        }
        if numbers.len() == 2 {
            return self.unexpected(",");
        }
        self.expect(")")?;
        let number = |i: usize, default| numbers.get(i).copied().unwrap_or(default);
        Ok(Compare { filter, top: number(0, COMPARE_TOP), start: number(1, 0), end: number(2, 0) })
    }

    /// The series of `aggregate`, and the comparisons that follow it.
    pub(super) fn filters(&mut self, pipeline: Pipeline, aggregate: Aggregate) -> Parsed<Metrics> {
        let mut metrics = Metrics { node: MetricsNode::Query(pipeline, aggregate), second: Vec::new() };
        self.comparisons(&mut metrics)?;
        Ok(metrics)
    }

    /// `| topk(3)`, and the comparisons that follow it.
    pub(super) fn second_stage(&mut self, mut metrics: Metrics) -> Parsed<Metrics> {
        self.at += 1;
        self.count_operator()?;
        let stage = match self.known() {
            Some("topk") => SecondStage::TopK,
            Some("bottomk") => SecondStage::BottomK,
            _ => return self.unexpected("topk or bottomk"),
        };
        self.at += 1;
        self.expect("(")?;
        let Token::Int(limit) = self.peek().token else { return self.unexpected("INTEGER") };
        self.at += 1;
        self.expect(")")?;
        metrics.second.push(stage(limit));
        self.comparisons(&mut metrics)?;
        Ok(metrics)
    }

    fn comparisons(&mut self, metrics: &mut Metrics) -> Parsed<()> {
        while let Some(op) = self.known().and_then(Op::parse).filter(|op| op.is_comparison()) {
            self.count_operator()?;
            let at = self.advance().start;
            let super::Item::Scalar(scalar) = self.binary(2, false)? else { return self.unexpected("a number") };
            metrics.second.push(SecondStage::Filter(op, self.threshold(&scalar, at)?));
        }
        Ok(())
    }

    /// `metrics > 5`
    pub(super) fn compare_with(&self, mut metrics: Metrics, op: Op, scalar: &Scalar, at: usize) -> Parsed<Metrics> {
        metrics.second.push(SecondStage::Filter(op, self.threshold(scalar, at)?));
        Ok(metrics)
    }

    fn threshold(&self, scalar: &Scalar, at: usize) -> Parsed<f64> {
        match scalar {
            Scalar::Static(Static::Int(i)) => Ok(*i as f64),
            Scalar::Static(Static::Float(f)) => Ok(*f),
            // Series of durations are in seconds.
            Scalar::Static(Static::Duration(ns)) => Ok(*ns as f64 / 1e9),
            Scalar::Op(..) => self.fail(at, "duration cannot be used in scalar arithmetic"),
            _ => self.fail(at, "syntax error: series compare with numbers only"),
        }
    }

    /// Arithmetic of series with series (`Ok`) or with a number (`Err`).
    pub(super) fn metrics_math(
        &self,
        op: Op,
        left: Result<Metrics, Scalar>,
        right: Result<Metrics, Scalar>,
        at: usize,
    ) -> Parsed<Metrics> {
        let operand = |side: Result<Metrics, Scalar>| match side {
            Ok(metrics) => Ok(Operand::Metrics(metrics)),
            Err(Scalar::Static(Static::Int(i))) => Ok(Operand::Number(i as f64)),
            Err(Scalar::Static(Static::Float(f))) => Ok(Operand::Number(f)),
            Err(Scalar::Static(Static::Duration(_)) | Scalar::Op(..)) => {
                self.fail(at, "duration cannot be used as a scalar operand in metric arithmetic")
            }
            Err(_) => self.fail(at, "syntax error: series go together with series and numbers only"),
        };
        Ok(Metrics { node: MetricsNode::Op(op, Box::new((operand(left)?, operand(right)?))), second: Vec::new() })
    }
}
